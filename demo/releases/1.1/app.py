"""The shop, 1.1: from 50 on, ten percent off."""

import serve


def total(prices: list[int]) -> int:
    return sum(prices) if sum(prices) < 50 else sum(prices) * 9 // 10


serve.run(total)
