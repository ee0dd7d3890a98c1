"""Any pretrained Hugging Face image-text model as a backbone."""
