"""MIMIC-CXR: the images and tables of MIMIC-CXR-JPG with the reports of MIMIC-CXR."""
