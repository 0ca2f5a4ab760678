"""Methods whose result never depended on the forget set: retraining, replay, SISA."""
