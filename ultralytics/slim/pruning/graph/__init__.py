"""What belongs together: the channels of a traced model, and the model cut or masked by them."""
