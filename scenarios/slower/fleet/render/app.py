import charts


def handler(event, context):
    return {"chart": charts.draw([0.1, 0.5, 0.9])}
