"""From and to the records of other packages: SunPy's maps, NDCube's cubes, DKIST's datasets."""
