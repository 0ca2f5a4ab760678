"""temp"""
from expunge.storage import atomic
def from_plain(p):
    return p
def write_record(path, record):
    atomic.write_json(path, record)
