"""The shop, 1.0: a cart costs what is in it."""

import serve

serve.run(sum)
