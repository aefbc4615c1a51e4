"""Statistics on arrays, independent of models: folds, intervals, hulls, calibration, sequential tests."""
