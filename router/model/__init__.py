"""The outcome model: fitted from outcomes, predicts p(correct), tokens and cost of every arm."""
