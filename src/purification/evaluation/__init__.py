"""What a defence is worth: accuracies with their intervals."""
