"""Japanese captions. Attributes stand before what they belong to, the place first."""

from __future__ import annotations

from supclap.data.soundscenes.captions.grammar import Language, Spoken, table

# kind | noun | subject | predicate
WORDS = table(
    """
beep | 電子音 | 機械が | ピーと鳴る
whistle | 口笛 | 誰かが | 口笛を吹く
church_bells | 鐘の音 | 鐘が | 鳴る
siren | サイレンの音 | サイレンが | 鳴り響く
car_horn | 車のクラクション | 車が | クラクションを鳴らす
flute | フルートの旋律 | フルートが | 旋律を奏でる
guitar | ギターの旋律 | ギターが | 旋律を奏でる
rain | 雨の音 | 雨が | 降る
wind | 風の音 | 風が | 吹く
sea_waves | 波の音 | 波が | 打ち寄せる
steam | 蒸気の音 | 蒸気が | 噴き出す
thunderstorm | 雷鳴 | 雷が | 鳴る
door_wood_knock | ノックの音 | 誰かが | ドアをノックする
clapping | 拍手の音 | 誰かが | 手をたたく
footsteps | 足音 | 誰かが | 歩く
hammer | ハンマーの音 | ハンマーが | 金属を打つ
drum | 太鼓の音 | 太鼓が | 鳴る
clock_tick | 時計の針の音 | 時計が | 時を刻む
water_drops | 水滴の音 | 水滴が | 落ちる
crackling_fire | 焚き火の音 | 焚き火が | はぜる
dog | 犬の鳴き声 | 犬が | 吠える
cat | 猫の鳴き声 | 猫が | 鳴く
chirping_birds | 小鳥のさえずり | 小鳥が | さえずる
crickets | コオロギの鳴き声 | コオロギが | 鳴く
frog | カエルの鳴き声 | カエルが | 鳴く
crow | カラスの鳴き声 | カラスが | 鳴く
insects | 蜂の羽音 | 蜂が | 羽音を立てる
cow | 牛の鳴き声 | 牛が | 鳴く
engine | エンジンの音 | エンジンが | 動く
helicopter | ヘリコプターの音 | ヘリコプターが | 飛ぶ
chainsaw | チェーンソーの音 | チェーンソーが | うなる
jackhammer | 削岩機の音 | 削岩機が | 地面を砕く
vacuum_cleaner | 掃除機の音 | 掃除機が | うなる
drilling | ドリルの音 | ドリルが | 回る
rooster | おんどりの鳴き声 | おんどりが | 鳴く
pig | 豚の鳴き声 | 豚が | 鳴く
hen | めんどりの鳴き声 | めんどりが | 鳴く
sheep | 羊の鳴き声 | 羊が | 鳴く
pouring_water | 水を注ぐ音 | 誰かが | 水を注ぐ
toilet_flush | トイレの水を流す音 | 誰かが | トイレの水を流す
crying_baby | 赤ん坊の泣き声 | 赤ん坊が | 泣く
sneezing | くしゃみの音 | 誰かが | くしゃみをする
breathing | 息の音 | 誰かが | 呼吸する
coughing | 咳の音 | 誰かが | 咳をする
laughing | 笑い声 | 誰かが | 笑う
brushing_teeth | 歯磨きの音 | 誰かが | 歯を磨く
snoring | いびきの音 | 誰かが | いびきをかく
drinking_sipping | 飲み物をすする音 | 誰かが | 飲み物をすする
mouse_click | マウスのクリック音 | 誰かが | マウスをクリックする
keyboard_typing | キーボードを打つ音 | 誰かが | キーボードを打つ
door_wood_creaks | ドアのきしむ音 | ドアが | きしむ
can_opening | 缶を開ける音 | 誰かが | 缶を開ける
washing_machine | 洗濯機の音 | 洗濯機が | 回る
clock_alarm | 目覚まし時計の音 | 目覚まし時計が | 鳴る
glass_breaking | ガラスの割れる音 | ガラスが | 割れる
train | 列車の音 | 列車が | 通る
airplane | 飛行機の音 | 飛行機が | 飛ぶ
fireworks | 花火の音 | 花火が | 上がる
hand_saw | のこぎりの音 | 誰かが | のこぎりで木を切る
air_conditioner | エアコンの音 | エアコンが | うなる
children_playing | 子供たちの遊ぶ声 | 子供たちが | 遊ぶ
gun_shot | 銃声 | 誰かが | 銃を撃つ
street_music | 路上演奏の音 | 路上の音楽家が | 演奏する
""",
    columns=3,
)

ADJECTIVES = {
    "high": ("甲高い", "高音の"),
    "low": ("低い", "低音の"),
    "fast": ("テンポの速い", "速いリズムの"),
    "slow": ("テンポの遅い", "遅いリズムの"),
    "loud": ("大音量の", "音量の大きい"),
    "quiet": ("小音量の", "音量の小さい"),
    "near": ("近くの", "すぐそばの"),
    "far": ("遠くの", "遠い場所の"),
}
ADVERBS = {
    "high": ("甲高く", "高い音程で"),
    "low": ("低く", "低い音程で"),
    "fast": ("速く", "速いテンポで"),
    "slow": ("ゆっくりと", "遅いテンポで"),
    "loud": ("大きな音で", "大音量で"),
    "quiet": ("小さな音で", "小音量で"),
    "near": ("近くで", "すぐそばで"),
    "far": ("遠くで", "遠い場所で"),
}

FRAMES = {
    "single": (
        "{a.noun}。",
        "{a.noun}が聞こえる。",
        "{a.clause}。",
        "この録音では、{a.clause}。",
        "{a.noun}だけで、ほかには何も聞こえない。",
        "ここでは、{a.clause}。",
    ),
    "then": (
        "{a.clause}。それから{b.clause}。",
        "まず{a.noun}、次に{b.noun}。",
        "{a.noun}、その後に{b.noun}。",
        "{b.clause}前に、{a.clause}。",
        "最初は{a.noun}、最後は{b.noun}。",
        "はじめに{a.clause}。少しして{b.clause}。",
        "{b.noun}、その直前に{a.noun}。",
    ),
    "together": (
        "{b.clause}のと同時に、{a.clause}。",
        "{a.noun}と{b.noun}が同時に聞こえる。",
        "{a.clause}。同時に{b.clause}。",
        "{a.noun}、それと一緒に{b.noun}。",
        "二つの音が重なる。{a.noun}と{b.noun}。",
        "{b.clause}中、{a.clause}。",
    ),
}


class Japanese(Spoken):
    @property
    def noun(self) -> str:
        attributes = self.said(ADJECTIVES, "distance", "level", "pace", "pitch")
        return "".join(attributes) + WORDS[self.kind][0]

    @property
    def clause(self) -> str:
        _, subject, predicate = WORDS[self.kind]
        manner = "".join(self.said(ADVERBS, "pace", "level", "pitch"))
        return "".join(self.said(ADVERBS, "distance")) + subject + manner + predicate


LANGUAGE = Language(
    code="jpn",
    words=WORDS,
    frames=FRAMES,
    spoken=Japanese,
    class_names={kind: noun for kind, (noun, _, _) in WORDS.items()},
    prompt="これは{}です。",
)
