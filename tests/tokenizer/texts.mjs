// The texts that make_fixtures.mjs encodes: code in many languages, many scripts, and the corners of
// the pre-tokenizers' regular expressions. U+FEFF and U+0085 are left out: the reference runs on
// JavaScript's \s, which disagrees with White_Space about them.

const code = [
  'def fib(n):\n    """Return the n-th number."""\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n',
  "class Foo(Bar):\n\tdef __init__(self, x=None, *args, **kwargs):\n\t\tsuper().__init__()\n\t\tself._x = x or {}\n",
  "import os, sys\nfrom collections import defaultdict as dd\n\n\nif __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n",
  "print(f'{value!r:>{width}.3f}', end='')  # comment\n",
  'lambda x: x**2 if x % 2 == 0 else ~x >> 3 & 0xFF | 0b1010 ^ 0o17',
  '#include <stdio.h>\n\nint main(int argc, char **argv) {\n  printf("%d\\n", argc);\n  return 0;\n}\n',
  'template <typename T, std::size_t N>\nconstexpr auto sum(const std::array<T, N>& a) noexcept -> T {\n  return std::accumulate(a.begin(), a.end(), T{});\n}\n',
  'static inline uint32_t rotl(uint32_t x, int8_t r) { return (x << r) | (x >> (32 - r)); }',
  '#define MAX(a,b) \\\n  ((a) > (b) ? (a) : (b))\n#ifdef __cplusplus\nextern "C" {\n#endif\n',
  '__global__ void add(float* a, const float* __restrict__ b, int n) {\n  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  if (i < n) a[i] += b[i];\n}',
  "const f = async ({ a, b = 1, ...rest }) => {\n  await Promise.all([...rest].map((x) => x?.y ?? `${a}-${b}`));\n};\n",
  'export default function App(): JSX.Element {\n  return <div className="a b" onClick={() => set(n => n + 1)}>{items.map(i => <Item key={i.id} {...i} />)}</div>;\n}\n',
  'type Mapped<T extends object> = { readonly [K in keyof T]?: T[K] extends infer U ? U : never };',
  'package main\n\nimport (\n\t"fmt"\n\t"net/http"\n)\n\nfunc main() {\n\tif err := http.ListenAndServe(":8080", nil); err != nil {\n\t\tfmt.Println(err)\n\t}\n}\n',
  "impl<'a, T: Clone + 'static> Iterator for Iter<'a, T> {\n    type Item = &'a T;\n    fn next(&mut self) -> Option<Self::Item> {\n        self.inner.next().map(|x| x.as_ref())\n    }\n}\n",
  'fn main() { let s = r#"raw "str""#; println!("{s:?} {:08.3}", 1.0_f64); vec![1u8; 0x10].iter().for_each(drop); }',
  'public final class Foo<T extends Comparable<? super T>> implements Bar {\n  @Override\n  public String toString() { return String.format("%s@%x", getClass().getName(), hashCode()); }\n}\n',
  "local M = {}\nfunction M.setup(opts)\n  opts = vim.tbl_deep_extend('force', defaults, opts or {})\n  for k, v in pairs(opts) do M[k] = v end\nend\nreturn M\n",
  '#!/usr/bin/env bash\nset -euo pipefail\nfor f in "${files[@]}"; do\n  [[ -f $f ]] && sed -i "s/\\bfoo\\b/bar/g" "$f" || echo "no $f" >&2\ndone\n',
  'SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.user_id = u.id WHERE u.name LIKE \'%O\'\'Neil%\' GROUP BY 1 HAVING COUNT(*) > 10;',
  '{"name": "x", "list": [1, 2.5e-10, -3, null, true], "nested": {"a\\u00e9": "\\n\\t\\""}}',
  'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a-b_c\ndata:\n  key: |\n    line 1\n    line 2\n  "quoted": \'it\'\'s\'\n',
  '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>x &amp; y</title></head>\n<body><!-- c --></body></html>\n',
  '.a > .b:not(:first-child)::after { content: "\\201C"; margin: -1px auto 0 calc(100% - 2rem); color: #fF00aB; }\n@media (max-width: 600px) {}',
  '# Title\n\n* item **bold** _it_\n  - [link](https://example.com/a?b=c&d=%20#e)\n\n```c++\nint x;\n```\n| a | b |\n|---|:-:|\n',
  'main :: IO ()\nmain = mapM_ (putStrLn . show) $ takeWhile (< 100) [x ^ 2 | x <- [1 ..], odd x]\n',
  "(defun fact (n) (if (<= n 1) 1 (* n (fact (1- n))))) ; '(a . b) #'car `(,@x)",
  'FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends \\\n    g++ \\\n  && rm -rf /var/lib/apt/lists/*\n',
  'add_library(foo STATIC ${SOURCES})\ntarget_link_libraries(foo PUBLIC $<$<CONFIG:Debug>:bar> Threads::Threads)\n',
  '<?php\nnamespace App\\Models;\nuse Illuminate\\Support\\{Arr, Str};\n$x = array_map(fn($v) => $v <=> 1, $this->items ?? []);\n',
  'x <- c(1, 2, NA); df %>% filter(!is.na(x)) |> summarise(m = mean(x, na.rm = TRUE))',
  'module Foo\n  def self.bar(&block) = @bar ||= block&.call(:sym, key: "v#{1 + 1}") rescue nil\nend\n',
  'val xs: List[Int] = for { i <- 1 to 10 if i % 2 == 0 } yield i * i // Scala\n',
  'mov    eax, dword ptr [rbp - 0x14]\n\tlea\trdi, [rip + .L.str]\n\tcall\tprintf@PLT\n',
  'diff --git a/x b/x\nindex 83db48f..bf269f4 100644\n--- a/x\n+++ b/x\n@@ -1,3 +1,4 @@\n-old\n+new\n',
  '2024-01-31T23:59:59.999Z ERROR [main] c.e.App: java.lang.NullPointerException: null\n\tat c.e.App.run(App.java:42)\n',
  'if (a&&b||!c) {x+=y--*z/++w%2;} else if(~m^n){p<<=q>>>1;}',
  'getHTTPResponseCodeFromURLString XMLHttpRequest parseJSON2YAML iPhone15ProMax snake_case_name SCREAMING_SNAKE kebab-case-name',
  '        deeply        indented      text   with     many spaces',
  '\t\t\t\ttabs\t\tand \t mixed\t \tspaces  \t',
  'trailing spaces   \nnext line  \n\n\n   leading\n',
  'windows\r\nline\r\nends\r\n\r\n  here\r\n',
  'old\rmac\r\rends',
  'mixed\n\r\n\r\r\n\n ends \n \r \n',
  'a\n\n\n\n\n\n\n\n\n\nb',
  'a \n \n  \n   \nb',
  '   \n', '\n', '\r\n', '\n\n', ' \n', '\n ', '\t', ' ', '  ', '   ', '    ', '\t\t', ' \t', '\t ',
  ' a', '  a', '   a', '\ta', '\t\ta', '\n a', ' \n a', '\r a',
];

const digits = [
  '0', '42', '123', '1234', '12345', '123456', '1234567890', '3.14159', '1e-10', '0xDEADBEEF', '1_000_000',
  '127.0.0.1:8080', '2026-11-21', '٠١٢٣٤', '१२३४', '½ ¾ ² ³ ¹ Ⅷ ⅷ ①②③ 〇', '１２３', '𝟘𝟙𝟚', '12ab34cd', 'a1b2c3', ' 1 22 333 4444',
  'x1 = 10*20+300-4000/50000', '1,234,567.89', '#123456', 'v1.2.3-rc.4+build.5', '1st 2nd 3rd 4th',
];

const contractions = [
  "I'm you're he's it'd we'll they've don't", "I'M YOU'RE HE'S IT'D WE'LL THEY'VE DON'T", "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D",
  "x's 's ''s '' '", "rock'n'roll o'clock 'tis '90s", "can\u2019t won\u2019t", "'r 'v 'l 'lx 'rex", "a'sb'tc'red", "f'{x}' b'\\x00' r'\\d+' u'é'",
];

const scripts = [
  'El veloz murciélago hindú comía feliz cardillo y kiwi.', 'Voix ambiguë d’un cœur qui préfère les jattes de kiwis.',
  'Falsches Üben von Xylophonmusik quält jeden größeren Zwerg.', 'Pchnąć w tę łódź jeża lub ośm skrzyń fig', 'Příliš žluťoučký kůň úpěl ďábelské ódy',
  'Съешь же ещё этих мягких французских булок, да выпей чаю.', 'Ξεσκεπάζω την ψυχοφθόρα βδελυγμία', 'Չկան օտար մարդիկ', 'ქართული ენა ანბანი',
  '我能吞下玻璃而不伤身体。', '敏捷的棕色狐狸跳过了懒狗，数量为123个。', '私はガラスを食べられます。それは私を傷つけません。', 'いろはにほへと ちりぬるを', 'ｶﾀｶﾅ ﾊﾝｶｸ ＡＢＣ',
  '나는 유리를 먹을 수 있어요. 그래도 아프지 않아요', '다람쥐 헌 쳇바퀴에 타고파', 'ㄱㄴㄷ ㅏㅑ',
  'أنا قادر على أكل الزجاج و هذا لا يؤلمني.', 'اَلْعَرَبِيَّةُ', 'دَه می‌خواهم فارسی', 'אני יכול לאכול זכוכית וזה לא מזיק לי.', 'שָׁלוֹם',
  'मैं काँच खा सकता हूँ और मुझे उससे कोई चोट नहीं पहुंचती.', 'क्षत्रिय ज्ञान श्री', 'আমি কাঁচ খেতে পারি', 'நான் கண்ணாடி சாப்பிடுவேன்', 'నేను గాజు తినగలను', 'ನನಗೆ ಹಾನಿ', 'എനിക്ക്',
  'ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ', 'ຂອ້ຍກິນແກ້ວໄດ້', 'ကျွန်တော်', 'ខ្ញុំអាចញុំកញ្ចក់បាន', 'ང་ཤེལ་ཟ་ནས', 'Би шил идэй чадна', 'አማርኛ ይገለጣል', 'ᚠᛇᚻ᛫ᛒᛦᚦ', 'ᓄᓇᕗᑦ', '𐌼𐌰𐌲 𐌲𐌻𐌴𐍃', '𒀀𒁀', '𓀀𓂀',
  'Tiếng Việt: chữ Quốc ngữ, đặc biệt ấn tượng', 'Türkçe İIıi ğüşöç', 'Ñandú ÀÉÎÕÜ ß ẞ ſ ﬁ ﬂ', 'ĳ Ǆ ǅ ǆ ʰ ˢ ª º',
];

const marks = [
  'e\u0301le\u0300ve cafe\u0301', 'n\u0303 o\u0308\u0304 a\u0328\u0301', 'Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319A\u0315L', '\u0301lone mark', ' \u0301', 'a \u0301b', '\u093e\u0902',
  'x\u20d7 + y\u0302', '\u1100\u1161\u11a8 jamo', 'मराठी\u200d\u094d', '\u3099\u304b\u3099',
];

const symbols = [
  '😀😃😄', '👨‍👩‍👧‍👦 family', '👩🏽‍💻👍🏿', '🏳️‍🌈🏴‍☠️', '🇩🇪🇯🇵🇺🇸', '#️⃣ 1️⃣', 'text😀text 😀 text', '❤️ ♥ ☺︎ ✔', '→ ⇒ ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ ≠ ∞', '∑∏∫√∂ ≤≥≈≡', '€£¥₹₿ $¢', '©®™ §¶†‡', '«quotes» “double” ‘single’ „low‚ ‹a›', '…—–‐‑‒―', '┌─┬┐│║█▓▒░▲●', '♔♕♖♗', '⠓⠑⠇⠇⠕', 'H₂O x² 10⁻³ ½', '°C µm Å Ω', '〈〉《》「」、。！？：；', '（全角）', '¡¿ ·',
  '!!! ??? ... --- === *** ///', '->=>::<=>&&||!=', '(((((((((())))))))))', '[]{}()<>', '!@#$%^&*()_+-=[]{}|;\':",./<>?`~', '"""\'\'\'```', '\\\\n\\t\\x00', '#####', '//////////////////////////////////////', '----------------------------------------------------------------', '================', '_______', '/*\n * doc\n */', '.,;:\n\n.,;:\r\n', '!\n', '?\r\n\n x',
];

const spaces = [
  'a\u00a0b', 'a\u00a0\u00a0b', '\u00a0\u00a0', 'a\u2003b\u2009c\u200ad', 'a\u3000b', '\u3000\u3000字', 'a\u2028b\u2029c', 'a\u1680b\u202fc\u205fd', 'a\u200bb\u200cc\u200dd\u2060e', 'a\u00adb', 'a\u000bb\u000cc', '\u000b\n\u000c\n', 'a \u00a0 b', ' \u2003\n\u2003 x', 'x\u180ey',
  'null\u0000byte', '\u0001\u0002\u001f\u007f', '\u200e\u200f\u202a\u202c\u2066\u2069', '\ufffd\ufffe', '\ue000\uf8ff', '\u{10ffff}\u{e0001}', '\u{1f1e6}', '\ufe0f\ufe0e', '\u061c',
];

const long = [
  ' '.repeat(17), ' '.repeat(100) + 'x', '\n'.repeat(40), '\t'.repeat(33) + 'y', 'a'.repeat(200), 'ab'.repeat(100), '='.repeat(150), '0'.repeat(70), '字'.repeat(60), '😀'.repeat(30), 'aaaaaaab'.repeat(12), 'x '.repeat(64), '\r\n'.repeat(20), ' \n'.repeat(20), 'é'.repeat(80),
  'Pneumonoultramicroscopicsilicovolcanoconiosis Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft',
  'YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU2Nzg5QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
];

const pieces = ['', 'a', 'the', ' the', 'The quick brown fox jumps over the lazy dog.', 'Hello, world!', 'hello world', 'HelloWorld', 'helloWorld', 'HELLO', 'foo(bar', '(foo', '"foo"', '$foo', '@foo', '_foo', '.foo', ' .foo', ' _foo', '\t.foo', 'foo.bar.baz()', 'http://user:pass@host.tld:80/p/a/t/h?query=string#hash', 'C:\\Users\\me\\file.txt', '/usr/local/bin', 'me@example.com', '<0x0A> </b>', '</think> <tool_call>{"name": "f"}</tool_call>'];

export const texts = [...pieces, ...code, ...digits, ...contractions, ...scripts, ...marks, ...symbols, ...spaces, ...long];
