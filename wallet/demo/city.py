"""Who lives in the demonstration city: drawn from one seed number, the same every time.

The names are put together from common surnames and words of shop signs; they mean nobody.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from wallet.core.ids import align_id
from wallet.merchants.register_merchants import NewMerchant, NewShop
from wallet.people.open_wallets import NewWallet
from wallet.vouchers.rules import IssueRequest

# How many shops in a hundred, what their signs say, and the part of them that are small.
SIGNS: Final = (
    ("restaurant", 24, ("食堂", "うどん", "寿司", "焼肉", "ラーメン", "居酒屋"), 0.9),
    ("groceries", 12, ("青果", "鮮魚店", "精肉店", "スーパー", "商店", "米穀店"), 0.7),
    ("beauty", 9, ("美容室", "理容", "ヘアサロン"), 0.98),
    ("clothing", 8, ("洋品店", "呉服店", "靴店", "衣料"), 0.8),
    ("cafe", 7, ("珈琲", "喫茶", "茶房"), 0.95),
    ("bakery", 6, ("製菓", "ベーカリー", "和菓子舗"), 0.95),
    ("drugstore", 6, ("薬局", "ドラッグ", "薬品"), 0.4),
    ("convenience", 5, ("マート", "コンビニ"), 0.1),
    ("household", 4, ("家具", "金物店", "陶器店"), 0.8),
    ("electronics", 3, ("電器", "電化センター"), 0.6),
    ("books", 3, ("書店", "文具店"), 0.8),
    ("automobile", 3, ("自動車", "モータース", "自転車商会"), 0.8),
    ("childcare", 2, ("学習塾", "音楽教室", "こども館"), 0.9),
    ("laundry", 2, ("クリーニング",), 0.95),
    ("florist", 2, ("生花店", "園芸"), 0.98),
    ("leisure", 1, ("シネマ", "ボウル", "美術館"), 0.5),
    ("transport", 1, ("タクシー", "交通"), 0.6),
    ("lodging", 1, ("旅館", "ホテル"), 0.5),
    ("hardware", 0.5, ("ホームセンター",), 0.1),
    ("tobacco", 0.5, ("たばこ店",), 1.0),
)
SURNAMES: Final = (
    *("佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤"),
    *("吉田", "山田", "佐々木", "山口", "松本", "井上", "木村", "林", "斎藤", "清水"),
    *("山崎", "森", "池田", "橋本", "阿部", "石川", "山下", "中島", "石井", "小川"),
    *("前田", "岡田", "長谷川", "藤田", "後藤", "近藤", "村上", "遠藤", "青木", "坂本"),
)
QUARTERS: Final = (
    *("本町", "駅前", "城南", "城北", "東町", "西町", "港", "野里"),
    *("網干", "飾磨", "広畑", "白浜", "手柄", "安室", "増位"),
)

SHOPS_PER_MERCHANT: Final = ((1, 88), (2, 7), (3, 3), (6, 1.5), (20, 0.5))
REGISTERS: Final = ((1, 78), (2, 14), (4, 6), (8, 2))
SILVER_SHARE: Final = 0.25
CHILD_SHARE: Final = 0.18

Kind = Literal[
    "merchant", "shop", "terminal", "wallet", "issue",
    "demo merchant", "demo shop", "demo terminal", "demo wallet", "demo issue",
]  # fmt: skip
"""What an id of the city is of; part of what it is derived from."""


@dataclass(frozen=True, kw_only=True)
class City:
    """A city of a certain size. ``founded_us`` is the moment in all of its ids."""

    seed: int
    founded_us: int
    wallets: int
    shops: int

    def id_of(self, kind: Kind, number: int) -> UUID:
        """Return a UUIDv7 that is the same for the same city, kind and number.

        That is how seeding goes on after an interruption without doing anything twice.
        """
        name = f"{self.seed}/{kind}/{number}".encode()
        digest = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "big")
        milliseconds = self.founded_us // 1000
        value = digest & ~(0xFFFF_FFFF_FFFF_F << 76) & ~(0b11 << 62)
        value |= milliseconds << 80 | 0x7 << 76 | 0b10 << 62
        return UUID(int=value)

    def merchants(self) -> Iterator[NewMerchant]:
        """Draw merchants until the city has its shops."""
        # S311: nothing is secret here; the same seed shall give the same city.
        rng = random.Random(f"{self.seed}/merchants")  # noqa: S311
        number = first_shop = 0
        while first_shop < self.shops:
            count = min(_draw(rng, SHOPS_PER_MERCHANT), self.shops - first_shop)
            yield self._merchant(rng, number, range(first_shop, first_shop + count))
            number, first_shop = number + 1, first_shop + count

    def _merchant(self, rng: random.Random, number: int, shop_numbers: range) -> NewMerchant:
        (sign,) = rng.choices(SIGNS, weights=[sign[1] for sign in SIGNS])
        category, _, words, small_share = sign
        name = f"{rng.choice(SURNAMES)}{rng.choice(words)}"
        chain = len(shop_numbers) > 3  # noqa: PLR2004 - a chain is no small shop
        small = not chain and rng.random() < small_share
        return NewMerchant(
            self.id_of("merchant", number),
            name,
            tuple(
                self._shop(rng, n, name, category, small=small, chain=chain) for n in shop_numbers
            ),
        )

    def _shop(
        self,
        rng: random.Random,
        number: int,
        name: str,
        category: str,
        *,
        small: bool,
        chain: bool,
    ) -> NewShop:
        registers = 1 if small else _draw(rng, REGISTERS)
        return NewShop(
            self.id_of("shop", number),
            f"{name} {rng.choice(QUARTERS)}店",
            category,
            small,
            tuple(self.id_of("terminal", number * 16 + r) for r in range(registers)),
            chain,
        )

    def residents(self) -> list[NewWallet]:
        """Return the wallets to open."""
        return [NewWallet(self.id_of("wallet", n)) for n in range(self.wallets)]

    def purchases(self) -> Iterator[IssueRequest]:
        """Draw who has bought how many sets: 1 to 10 of the general frame for everybody.

        A quarter of the wallets also hold the frame for the elderly, a few less the one for
        families; nobody holds both.
        """
        rng = random.Random(f"{self.seed}/purchases")  # noqa: S311 - as above
        for number in range(self.wallets):
            wallet_id = self.id_of("wallet", number)
            yield self._purchase(number * 2, wallet_id, "shirasagi-general", _sets(rng))
            lot = rng.random()
            if lot < SILVER_SHARE:
                yield self._purchase(number * 2 + 1, wallet_id, "shirasagi-silver", _sets(rng))
            elif lot < SILVER_SHARE + CHILD_SHARE:
                yield self._purchase(number * 2 + 1, wallet_id, "shirasagi-child", _sets(rng))

    def _purchase(self, number: int, wallet_id: UUID, programme: str, sets: int) -> IssueRequest:
        return IssueRequest(
            issue_id=align_id(self.id_of("issue", number)),
            wallet_id=wallet_id,
            programme=programme,
            sets=sets,
        )


def _draw(rng: random.Random, table: tuple[tuple[int, float], ...]) -> int:
    (value,) = rng.choices([value for value, _ in table], weights=[weight for _, weight in table])
    return value


def _sets(rng: random.Random) -> int:
    """Most people buy few sets, and many all they can get."""
    return rng.choices(range(1, 11), weights=(20, 16, 10, 6, 14, 4, 3, 3, 2, 22))[0]
