"""From a folder of images and a network to a fine-tuned model; `pipeline` has the order."""
