import idna


def handler(event, context):
    return {"host": idna.encode("grüße.example").decode()}
