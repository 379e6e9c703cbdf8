import model


def handler(event, context):
    return {"score": model.score([0.2, 0.4, 0.6])}
