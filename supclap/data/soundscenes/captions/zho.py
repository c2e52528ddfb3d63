"""Chinese captions (simplified). Every noun has its own measure word."""

from __future__ import annotations

from supclap.data.soundscenes.captions.grammar import Language, Spoken, table

# kind | number and measure word | noun | subject | predicate
WORDS = table(
    """
beep | 一阵 | 电子提示音 | 一台设备 | 发出提示音
whistle | 一阵 | 口哨声 | 有人 | 吹口哨
church_bells | 一阵 | 钟声 | 一口钟 | 敲响
siren | 一阵 | 警笛声 | 一个警笛 | 鸣响
car_horn | 一阵 | 汽车喇叭声 | 一辆汽车 | 鸣喇叭
flute | 一段 | 长笛旋律 | 一支长笛 | 吹奏着
guitar | 一段 | 吉他旋律 | 一把吉他 | 弹奏着
rain | 一阵 | 雨声 | 雨 | 下着
wind | 一阵 | 风声 | 风 | 吹着
sea_waves | 一阵 | 海浪声 | 海浪 | 拍打着海岸
steam | 一阵 | 蒸汽声 | 蒸汽 | 喷出
thunderstorm | 一阵 | 雷声 | 雷 | 轰鸣着
door_wood_knock | 一阵 | 敲门声 | 有人 | 敲门
clapping | 一阵 | 拍手声 | 有人 | 拍手
footsteps | 一阵 | 脚步声 | 有人 | 走路
hammer | 一阵 | 锤子敲击声 | 一把锤子 | 敲打着金属
drum | 一阵 | 鼓声 | 一面鼓 | 敲响
clock_tick | 一阵 | 时钟滴答声 | 一只时钟 | 滴答作响
water_drops | 一阵 | 滴水声 | 水珠 | 滴落
crackling_fire | 一阵 | 篝火声 | 一堆篝火 | 噼啪作响
dog | 一阵 | 狗叫声 | 一只狗 | 吠叫
cat | 一阵 | 猫叫声 | 一只猫 | 喵喵叫
chirping_birds | 一阵 | 鸟鸣声 | 一只小鸟 | 鸣叫
crickets | 一阵 | 蟋蟀声 | 一只蟋蟀 | 鸣叫
frog | 一阵 | 蛙鸣声 | 一只青蛙 | 呱呱叫
crow | 一阵 | 乌鸦叫声 | 一只乌鸦 | 啼叫
insects | 一阵 | 蜜蜂嗡嗡声 | 一只蜜蜂 | 嗡嗡飞舞
cow | 一阵 | 牛叫声 | 一头牛 | 哞哞叫
engine | 一阵 | 发动机声 | 一台发动机 | 运转着
helicopter | 一阵 | 直升机声 | 一架直升机 | 飞行着
chainsaw | 一阵 | 电锯声 | 一把电锯 | 运转着
jackhammer | 一阵 | 风镐声 | 一台风镐 | 凿着地面
vacuum_cleaner | 一阵 | 吸尘器声 | 一台吸尘器 | 运转着
drilling | 一阵 | 电钻声 | 一把电钻 | 转动着
rooster | 一阵 | 公鸡打鸣声 | 一只公鸡 | 打鸣
pig | 一阵 | 猪叫声 | 一头猪 | 哼叫
hen | 一阵 | 母鸡叫声 | 一只母鸡 | 咯咯叫
sheep | 一阵 | 羊叫声 | 一只羊 | 咩咩叫
pouring_water | 一阵 | 倒水声 | 有人 | 倒水
toilet_flush | 一阵 | 马桶冲水声 | 有人 | 冲马桶
crying_baby | 一阵 | 婴儿哭声 | 一个婴儿 | 啼哭
sneezing | 一声 | 喷嚏声 | 有人 | 打喷嚏
breathing | 一阵 | 呼吸声 | 有人 | 呼吸
coughing | 一阵 | 咳嗽声 | 有人 | 咳嗽
laughing | 一阵 | 笑声 | 有人 | 发笑
brushing_teeth | 一阵 | 刷牙声 | 有人 | 刷牙
snoring | 一阵 | 鼾声 | 有人 | 打鼾
drinking_sipping | 一阵 | 啜饮声 | 有人 | 啜饮
mouse_click | 一阵 | 鼠标点击声 | 有人 | 点击鼠标
keyboard_typing | 一阵 | 键盘声 | 有人 | 敲键盘
door_wood_creaks | 一阵 | 开门的吱呀声 | 一扇门 | 吱呀作响
can_opening | 一阵 | 开罐声 | 有人 | 打开罐头
washing_machine | 一阵 | 洗衣机声 | 一台洗衣机 | 运转着
clock_alarm | 一阵 | 闹钟声 | 一个闹钟 | 响起
glass_breaking | 一阵 | 玻璃破碎声 | 一块玻璃 | 破碎
train | 一阵 | 火车声 | 一列火车 | 驶过
airplane | 一阵 | 飞机声 | 一架飞机 | 飞行着
fireworks | 一阵 | 烟花声 | 一簇烟花 | 绽放
hand_saw | 一阵 | 锯木声 | 有人 | 锯木头
air_conditioner | 一阵 | 空调声 | 一台空调 | 运转着
children_playing | 一阵 | 孩子们的玩耍声 | 一群孩子 | 玩耍
gun_shot | 一声 | 枪声 | 有人 | 开枪
street_music | 一段 | 街头音乐 | 一位街头艺人 | 演奏着
""",
    columns=4,
)

# Adjectives with 的, adverbs with 地.
QUALITIES = {
    "high": ("高亢", "尖锐"),
    "low": ("低沉", "浑厚"),
    "fast": ("急促", "快速"),
    "slow": ("缓慢", "舒缓"),
    "loud": ("响亮", "大声"),
    "quiet": ("轻微", "小声"),
}
PLACES = {"near": ("近处", "附近"), "far": ("远处", "远方")}

FRAMES = {
    "single": (
        "{a.noun}。",
        "可以听到{a.noun}。",
        "{a.clause}。",
        "在这段录音里，{a.clause}。",
        "只有{a.noun}，没有别的声音。",
        "听，{a.clause}。",
    ),
    "then": (
        "{a.clause}，然后{b.clause}。",
        "先是{a.noun}，接着是{b.noun}。",
        "{a.noun}，之后是{b.noun}。",
        "在{b.noun}之前，是{a.noun}。",
        "开头是{a.noun}，结尾是{b.noun}。",
        "起初{a.clause}；过了一会儿，{b.clause}。",
        "{b.noun}，就在这之前是{a.noun}。",
    ),
    "together": (
        "{b.clause}的时候，{a.clause}。",
        "{a.noun}和{b.noun}同时响起。",
        "同一时间，{a.clause}，{b.clause}。",
        "{a.noun}，伴随着{b.noun}。",
        "两种声音重叠在一起：{a.noun}和{b.noun}。",
        "当{b.clause}时，{a.clause}。",
    ),
}


class Chinese(Spoken):
    @property
    def noun(self) -> str:
        measure, noun, _, _ = WORDS[self.kind]
        place = "".join(f"{where}的" for where in self.said(PLACES, "distance"))
        qualities = self._qualities
        return place + measure + (f"{qualities}的" if qualities else "") + noun

    @property
    def clause(self) -> str:
        _, _, subject, predicate = WORDS[self.kind]
        place = "".join(self.said(PLACES, "distance"))
        qualities = self._qualities
        return place + subject + (f"{qualities}地" if qualities else "") + predicate

    @property
    def _qualities(self) -> str:
        return "而".join(self.said(QUALITIES, "pace", "level", "pitch"))


LANGUAGE = Language(
    code="zho",
    words=WORDS,
    frames=FRAMES,
    spoken=Chinese,
    class_names={kind: row[1] for kind, row in WORDS.items()},
    prompt="这是{}。",
)
