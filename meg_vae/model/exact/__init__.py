"""The exact minimiser of the linear VAE's energy, in parts."""
