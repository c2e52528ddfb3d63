"""`supclap check`: whether a part of one's own keeps what the training loop relies on."""
