"""What kinds of shops there are: the codes that programmes allow and exclude by."""

from types import MappingProxyType
from typing import Final

CATEGORIES: Final = MappingProxyType(
    {
        "groceries": "食料品・スーパー",
        "convenience": "コンビニエンスストア",
        "restaurant": "飲食店",
        "cafe": "喫茶・カフェ",
        "bakery": "パン・菓子",
        "liquor": "酒類",
        "drugstore": "ドラッグストア・薬局",
        "medical": "医療・介護",
        "clothing": "衣料・履物",
        "books": "書籍・文具",
        "electronics": "家電・携帯電話",
        "household": "家具・日用品",
        "hardware": "ホームセンター・工具",
        "sports": "スポーツ・玩具",
        "florist": "生花・園芸",
        "beauty": "理容・美容",
        "laundry": "クリーニング",
        "childcare": "子育て・学習",
        "leisure": "娯楽・文化施設",
        "lodging": "宿泊・旅行",
        "transport": "交通・タクシー",
        "automobile": "自動車・自転車",
        "fuel": "ガソリン・燃料",
        "construction": "住宅・リフォーム",
        "tobacco": "たばこ",
        "vouchers": "商品券・切手・プリペイド",
        "public-charges": "税金・公共料金",
        "real-estate": "不動産",
        "finance": "金融・保険",
        "adult": "風俗営業",
    }
)
"""Every shop category: its code and what people call it."""
