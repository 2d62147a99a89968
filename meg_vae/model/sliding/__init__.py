"""The sliding decoder: places of the sources are parameters, beside their priors and the noise."""
