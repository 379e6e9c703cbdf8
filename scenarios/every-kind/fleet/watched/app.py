"""Does little; the extension beside it is what the layer is about."""


def handler(event, context):
    return {"request": context.aws_request_id}
