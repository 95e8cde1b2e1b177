"""Networks, pretrained weights, model files and the device they run on."""
