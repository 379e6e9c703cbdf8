"""Tells where a day begins first, by the layer's time zones."""
import datetime
import importlib.resources
import zoneinfo

zoneinfo.reset_tzpath(())  # the layer's, not the machine's


def handler(event, context):
    version = importlib.resources.files("tzdata").joinpath("zones").read_text().count("\n")
    noon = datetime.datetime(2024, 10, 1, 12, tzinfo=zoneinfo.ZoneInfo("Pacific/Auckland"))
    return {"zones": version, "offset": noon.utcoffset().total_seconds() / 3600}
