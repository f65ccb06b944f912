"""Does routing pay? Cross-validated accuracy and cost beside every baseline."""
