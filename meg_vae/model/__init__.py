"""The mathematics, on arrays and tensors alone: it knows no MEG and imports no MNE."""
