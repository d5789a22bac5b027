"""What the library costs, against floors and peers, each benchmark side by side in one run."""
