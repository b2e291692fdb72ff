"""Export to ncnn: a torch network as an ncnn graph and its weights."""
