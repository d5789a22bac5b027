"""Studies: many runs, one protocol, one report; the paper's figures and tables among them."""
