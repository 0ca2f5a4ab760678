"""temp"""
def write_report(path, record):
    pass
