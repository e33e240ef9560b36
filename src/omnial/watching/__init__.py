"""Pictures that arrive, from a folder or a camera, are inspected and answered one by one."""
