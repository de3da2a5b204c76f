//! The scenario scripts are the YAML files of this folder; the test target `scenarios` runs each as one test.
