"""How the admin writes times: with seconds, as frames follow each other within one. Django finds this by its name."""

DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
DATETIME_FORMAT = f"{DATE_FORMAT} {TIME_FORMAT}"
