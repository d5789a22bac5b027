r"""Where score matching is blind: small problems with known answers, see docs/blindness.md."""
