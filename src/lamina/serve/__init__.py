"""The HTTP server: a model behind `/predict`, requests gathered into batches, limits on all that comes in, and a page.

| on the way of a request | |
| --- | --- |
| server, patience | processes, a port, the stop; the HTTP protocol, which cuts clients that are too slow |
| application, door | the ASGI application; the token, the counts, the last net |
| routes, describing | what is asked and answered; the same as OpenAPI |
| incoming, pictures | the body within its limits, taken apart into files; files judged by their headers, and decoded |
| batching | threads that decode, a queue, one thread that computes |
| service, engines | the model at work, whether it is ready; the engine that is chosen |
| explaining | Grad-CAM for the page |
| telling | results as JSON, and drawn |
| answers, refusals | JSON; errors, their codes and status (no web framework is imported there) |
| limits, metrics | settings; figures for Prometheus |
| page | the page's files (page.html, .css, .js) and their headers |
"""

from lamina.serve.application import app
from lamina.serve.limits import Limits

__all__ = ["Limits", "app"]
