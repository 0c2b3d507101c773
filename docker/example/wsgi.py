import os

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello() -> str:
    return f"Hello, {os.environ.get('WHOM', 'world')}!\n"
