"""What to try in the demonstration city, ready to be pasted into a shell."""

from wallet.demo.seed import DemoSummary

AMOUNT_YEN = 1_200


def invite(summary: DemoSummary, *, address: str) -> str:
    """Return the city's size, its keys, and a command that pays; ``address`` is the till's URL."""
    secrets = summary.secrets
    size = f"{summary.wallets:,} wallets, {summary.shops:,} shops"
    lines = (
        f"{size}, {summary.circulating_yen:,} yen in circulation",
        f"documentation   {address}/docs",
        f"API key         {secrets.api_key}",
        f"demo wallet     {secrets.wallet_id}",
        "",
        f"Pay {AMOUNT_YEN:,} yen with the demo card:",
        "",
        _curl(summary, address),
        "",
        "In another shell: `.venv/bin/wallet ledger verify` proves every yen,",
        f"`.venv/bin/wallet code issue {secrets.wallet_id}` makes a one-time code.",
        "Ctrl-C here stops everything that was started.",
    )
    return "\n".join(lines)


def _curl(summary: DemoSummary, address: str) -> str:
    """A payment under names of its own each time it is pasted."""
    secrets = summary.secrets
    unique = "try-$(date +%s)-$RANDOM"
    body = (
        f'{{"merchant_payment_id":"\'"{unique}"\'",'
        f'"amount":{{"amount":{AMOUNT_YEN},"currency":"JPY"}},'
        f'"instrument":{{"type":"card","value":"{secrets.card_value}"}},'
        f'"terminal_id":"{secrets.terminal_id}"}}'
    )
    return (
        f"curl -sS {address}/v1/payments -H 'Authorization: Bearer {secrets.api_key}'"
        f" -H \"Idempotency-Key: {unique}\" -H 'Content-Type: application/json' -d '{body}'"
    )
