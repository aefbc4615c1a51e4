"""Statistics on arrays that know no model: folds, intervals, hulls, calibration."""
