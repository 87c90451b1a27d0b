"""CheXpert Plus: reports of chest radiographs from one hospital, with the images of CheXpert v1."""
