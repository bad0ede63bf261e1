"""The main content of an HTML page, written out as clean HTML: no navigation, nothing hidden, no deep nesting.

The page is walked once, without recursion. Only what Markdown can say is written; every other element leaves a space,
or a break where it is a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape, unescape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from knowledge.readers import Finding
from knowledge.readers.fields import has_text
from knowledge.readers.hidden import is_invisible, quoted
from knowledge.readers.html_styles import Look, Styles

MAX_DEPTH = 80
"""Elements below this depth are written as their text."""

_MAX_TEASERS = 100
"""Articles that are looked at; a page with more of them is a list."""

_MAX_NESTED = 12
"""Lists and quotes below this depth are written as paragraphs."""


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_NOT_TEXT = _names(
    "script style noscript template iframe svg math canvas audio video object embed map nav input select textarea "
    "datalist progress meter option optgroup dialog menu head title link meta base source track param area col "
    "colgroup frame frameset noframes noembed xmp plaintext applet"
)
_ROLES = _names("navigation banner contentinfo search dialog alertdialog menu menubar tablist toolbar")
_LABELS = frozenset({"breadcrumb", "breadcrumbs"})
_CLASSES = _names(
    "breadcrumb breadcrumbs cookie-banner cookie-consent cookie-notice cookie-bar cookiebanner gdpr-banner "
    "skip-link skip-nav skip-to-content site-header site-footer site-nav navbar share-buttons social-share "
    "sharing-buttons social-links pagination headerlink linenos lineno article-votes article-vote article-relatives "
    "article-return-to-top article-subscribe article-comments comment-list related-articles recent-articles "
    "recently-viewed-articles recommended-articles newsletter-signup feedback-form was-this-helpful back-to-top "
    "edit-this-page page-edit-link cookie-popup cookies-banner"
)
_IDS = _names(
    "onetrust-consent-sdk cookie-banner cookie-consent CybotCookiebotDialog breadcrumb breadcrumbs comments disqus_thread"
)
_SIDE = frozenset({"header", "footer", "aside"})

_BLOCKS = _names(
    "address article body center dd details div dl fieldset figcaption figure footer form header hgroup html main "
    "section aside caption search slot legend"
)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BOLD = frozenset({"b", "strong", "dt", "summary"})
_KEPT_INLINE = {
    "em": "em",
    "i": "em",
    "code": "code",
    "kbd": "code",
    "samp": "code",
    "tt": "code",
    "del": "del",
    "s": "del",
}
_SEAMLESS = _names(
    "abbr acronym bdi bdo big cite data dfn font ins label mark nobr output picture q rb rp rt ruby small span sub sup "
    "time u var wbr strike button a"
)
_TABLE = frozenset({"table", "thead", "tbody", "tfoot", "tr", "td", "th"})
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang)-([\w+#.-]{1,20})")
_SPACE = re.compile(r"\s+")
_MARKED = "[itemprop=articleBody], .article-body, .article__body, .article-content, .kb-article, .markdown-body, .entry-content"
"""Where help centres, wikis and blogs without `<main>` or `<article>` put an article's text."""
_MAX_PIECE = 400
"""Characters of hidden text that are looked at for one finding."""
_MAX_PIECES = 50


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the output a node stands."""

    depth: int = 0
    nested: int = 0
    inside: bool = False
    """Inside the article, where a header, footer or aside belongs to the text."""
    pre: bool = False
    line: bool = False
    """Inside a heading or a table cell, which must stay one line."""
    cell: bool = False
    bold: bool = False
    link: bool = False
    table: bool = False
    """Directly inside the rows of a table that is data, not layout."""
    numbers: list[int] | None = field(default=None, compare=False)
    look: Look = field(default=Look(), compare=False)


def content_html(
    page: LexborHTMLParser, link: Callable[[str], str | None], hidden: list[Finding], *, whole: bool = False
) -> str:
    """Clean HTML of the main content of `page`; `link` makes an address absolute or site-relative, or refuses it.

    The main content is `<main>`, else the only `<article>`, else what is marked as an article's text, else the body; where
    nothing is left of that, everything that is not hidden. `whole`: all of the page is content. What is hidden in it from
    those who look at the page is added to `hidden`.
    """
    styles = Styles(page)
    for root, is_content in [] if whole else _candidates(page, styles):
        writer = _Writer(page, link, styles, loose=False)
        html = writer.write(root, inside=is_content)
        if has_text(unescape(re.sub("<[^<>]*>", " ", html))):
            hidden += writer.hidden()
            return html
    if page.body is None:
        return ""
    writer = _Writer(page, link, styles, loose=True)
    html = writer.write(page.body, inside=True)
    hidden += writer.hidden()
    return html


def _candidates(page: LexborHTMLParser, styles: Styles) -> list[tuple[LexborNode, bool]]:
    """Where the main content may be, best first, each with whether all of it belongs to the text."""
    mains = [node for node in page.css("main, [role=main]") if not _is_hidden(node, node.attributes, styles)]
    articles = [node for node in page.css("article, [role=article]")[:_MAX_TEASERS] if not _is_beside(node)]
    found = [(node, node.css_first("article") is None) for node in mains[:1]]
    if len(articles) == 1 and not mains:
        found.append((articles[0], True))
    if page.body:
        if not found:
            found += [(node, True) for node in _marked_texts(page, page.body)]
        found.append((page.body, False))
    return found


def _marked_texts(page: LexborHTMLParser, body: LexborNode) -> list[LexborNode]:
    """The element that help centres mark as an article's text, if there is one and most of the page's text is in it.

    It may be without the heading, which then is the page's title.
    """
    nodes = page.css(_MARKED)
    if len(nodes) != 1:
        return []
    paragraphs = sum(len(node.text(strip=True)) for node in body.css("p, li, td"))
    inside = sum(len(node.text(strip=True)) for node in nodes[0].css("p, li, td"))
    return nodes if inside * 2 > paragraphs else []


def _is_beside(article: LexborNode) -> bool:
    """Whether an article is a teaser: in another article, or in what surrounds the content."""
    node = article.parent
    while node is not None:
        if node.tag in {"article", "aside", "nav", "footer"}:
            return True
        node = node.parent
    return False


def _is_hidden(node: LexborNode, attributes: dict[str, str | None], styles: Styles) -> bool:
    """Whether an element is hidden, if only from those who have pages read to them."""
    return attributes.get("aria-hidden") == "true" or bool(styles.why_hidden(node, attributes))


class _Writer:
    """Writes one part of a page. `loose` leaves out only what is hidden or not text, not what surrounds the content."""

    def __init__(
        self, page: LexborHTMLParser, link: Callable[[str], str | None], styles: Styles, *, loose: bool
    ) -> None:
        self.link = link
        self.styles = styles
        self.loose = loose
        self.out: list[str] = []
        self.unseen: list[tuple[str, str]] = []
        self.headings = len(page.css("h1"))
        self.vital = _lineage(page.css("h1, main, article"))

    def write(self, root: LexborNode, inside: bool) -> str:
        above = root.parent
        look = self.styles.look(above, above.tag or "", above.attributes, Look()) if above is not None else Look()
        stack: list[tuple[LexborNode, _Place] | str] = [(root, _Place(inside=inside, look=look))]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                self._put(item)
                continue
            node, place = item
            tag = node.tag or ""
            if tag == "-text":
                self._text(node.text_content or "", place)
                continue
            attributes = node.attributes if tag[:1].isalpha() else {}
            if not tag[:1].isalpha() or (
                node.mem_id != root.mem_id and self._is_left_out(node, tag, attributes, place)
            ):
                continue
            look = self.styles.look(node, tag, attributes, place.look)
            if look is not place.look:
                place = replace(place, look=look)
            before, after, below = self._element(node, tag, attributes, place)
            self._put(before)
            stack.append(after)
            stack.extend((child, below) for child in reversed(list(node.iter(include_text=True))))
        return "".join(self.out)

    def hidden(self) -> list[Finding]:
        """What was left out because nobody sees it; pieces of one kind that follow one another are one."""
        found: list[tuple[str, str]] = []
        for text, why in self.unseen:
            if found and found[-1][1] == why and len(found[-1][0]) < _MAX_PIECE:
                found[-1] = (f"{found[-1][0]} {text}", why)
            elif len(found) < _MAX_PIECES:
                found.append((text, why))
        return [Finding(quoted(text), why) for text, why in found if has_text(text)]

    def _put(self, piece: str) -> None:
        if piece == " " and (not self.out or self.out[-1].endswith((" ", "\n"))):
            return
        if piece:
            self.out.append(piece)

    def _text(self, text: str, place: _Place) -> None:
        if (why := place.look.why_unseen) and text.strip():
            self.unseen.append((text[:_MAX_PIECE], why))
            return
        if place.pre:
            self._put(escape(text.replace("\xa0", " "), quote=False))
            return
        if place.table:
            return
        text = _SPACE.sub(" ", text)
        if text.startswith(" ") and (not self.out or self.out[-1].endswith((" ", "div>", "p>", "li>"))):
            text = text[1:]
        self._put(escape(text, quote=False))

    def _is_left_out(self, node: LexborNode, tag: str, attributes: dict[str, str | None], place: _Place) -> bool:
        if tag in _NOT_TEXT or attributes.get("aria-hidden") == "true":
            return True
        if why := self.styles.why_hidden(node, attributes):
            self.unseen.append((_visible_text(node)[:_MAX_PIECE], why))
            return True
        if tag == "button":
            return not _is_heading_button(node, attributes)
        if tag == "a" and (attributes.get("href") or "").startswith("#") and not re.search(r"\w", node.text()):
            return True  # the sign beside a heading that links to it
        if self.loose:
            return False
        if tag in _SIDE or attributes.get("role") == "complementary":
            return self._is_surrounding(node, tag, place)
        classes = (attributes.get("class") or "").split()
        named = (
            not _ROLES.isdisjoint((attributes.get("role") or "").split())
            or (attributes.get("aria-label") or "").lower() in _LABELS
            or attributes.get("id") in _IDS
            or not _CLASSES.isdisjoint(classes)
        )
        return named and node.mem_id not in self.vital

    def _is_surrounding(self, node: LexborNode, tag: str, place: _Place) -> bool:
        """Whether a header, footer or aside surrounds the content rather than belongs to it."""
        if place.inside:
            return tag != "header" and place.depth < MAX_DEPTH and _is_mostly_links(node)
        if tag == "header" and node.mem_id in self.vital:
            return len(node.css("h1")) < self.headings  # else it holds the only title
        return True

    def _element(
        self, node: LexborNode, tag: str, attributes: dict[str, str | None], place: _Place
    ) -> tuple[str, str, _Place]:
        """What is written before and after the children of an element, and the place where they stand."""
        if tag == "article":
            place = replace(place, inside=True)
        if place.pre:
            return ("\n", "", place) if tag == "br" else ("", "\n" if _is_line(tag, node) else "", place)
        if tag == "img":
            return f" {escape(_SPACE.sub(' ', attributes.get('alt') or ''), quote=False)} ", "", place
        if tag in _TABLE and (tag == "table" or place.table):
            return self._table(node, tag, attributes, place)
        if tag in _KEPT_INLINE or tag in _BOLD or tag in _SEAMLESS:
            return self._inline(tag, attributes, place)
        if place.line or place.depth >= MAX_DEPTH:
            return (" • " if tag == "li" else " "), " ", place
        if tag == "br" or tag == "hr":
            return f"<{tag}>", "", place
        return self._block(node, tag, attributes, replace(place, depth=place.depth + 1))

    def _inline(self, tag: str, attributes: dict[str, str | None], place: _Place) -> tuple[str, str, _Place]:
        below = replace(place, depth=place.depth + 1)
        href = self.link(attributes.get("href") or "") if tag == "a" and not place.link else None
        if href:
            return f'<a href="{escape(href)}">', "</a>", replace(below, link=True)
        if tag in _SEAMLESS or place.depth >= MAX_DEPTH:
            return "", "", place
        if tag in _BOLD:
            around = ("<p>", "</p>") if tag in {"dt", "summary"} and not place.line else ("", "")
            if place.bold or (place.line and not place.cell):
                return *around, place
            return f"{around[0]}<b>", f"</b>{around[1]}", replace(below, bold=True, line=place.line or bool(around[0]))
        kept = _KEPT_INLINE[tag]
        return f"<{kept}>", f"</{kept}>", below

    def _block(
        self, node: LexborNode, tag: str, attributes: dict[str, str | None], place: _Place
    ) -> tuple[str, str, _Place]:
        if tag in _HEADINGS:
            return f"<{tag}>", f"</{tag}>", replace(place, line=True)
        if tag == "p":
            return "<p>", "</p>", place
        if tag == "pre":
            language = _code_language(node)
            return f'<pre data-language="{escape(language)}">', "</pre>", replace(place, pre=True)
        if tag == "li" and place.numbers is not None:
            place.numbers[0] += 1
            return f'<li value="{place.numbers[0]}">', "</li>", replace(place, numbers=None)
        if tag in {"ul", "ol", "blockquote"} and place.nested < _MAX_NESTED:
            return f"<{tag}>", f"</{tag}>", replace(place, nested=place.nested + 1, numbers=_numbers(tag, attributes))
        if tag == "li" and place.nested:
            return "<li>", "</li>", place
        if tag in _BLOCKS or tag in _TABLE or tag in {"ul", "ol", "li", "blockquote"}:
            return "<div>", "</div>", replace(place, numbers=None)
        return " ", " ", place

    def _table(
        self, node: LexborNode, tag: str, attributes: dict[str, str | None], place: _Place
    ) -> tuple[str, str, _Place]:
        below = replace(place, depth=place.depth + 1, numbers=None)
        if tag == "table":
            if place.line or place.depth >= MAX_DEPTH or _is_layout(node, attributes):
                return " ", " ", replace(below, table=False)
            return f"{_caption(node)}<table>", "</table>", replace(below, table=True)
        if tag not in {"td", "th"}:
            return f"<{tag}>", f"</{tag}>", below
        spans = "".join(
            f' {name}="{value[:4]}"'
            for name in ("colspan", "rowspan")
            if (value := (attributes.get(name) or "").strip()).isascii() and value.isdigit()
        )
        return f"<{tag}{spans}>", f"</{tag}>", replace(below, table=False, line=True, cell=True)


def _is_line(tag: str, node: LexborNode) -> bool:
    """Whether an element in preformatted text is a line of its own."""
    is_block = tag in _BLOCKS or tag in {"p", "li", "tr"} or tag in _HEADINGS
    return is_block or (tag == "code" and node.next is not None and node.next.tag == "code")


def _is_heading_button(node: LexborNode, attributes: dict[str, str | None]) -> bool:
    """Whether a button carries the heading of a section that it folds."""
    parent = node.parent.tag if node.parent else None
    return parent in _HEADINGS or parent in {"dt", "summary"} or "aria-expanded" in attributes


def _lineage(nodes: list[LexborNode]) -> set[int]:
    """The memory addresses of `nodes` and of what contains them."""
    found: set[int] = set()
    for node in nodes:
        above: LexborNode | None = node
        while above is not None and above.mem_id not in found:
            found.add(above.mem_id)
            above = above.parent
    return found


def _visible_text(node: LexborNode) -> str:
    """The text of an element without that of its scripts and styles."""
    return " ".join(
        text.text_content or ""
        for text in node.traverse(include_text=True)
        if text.tag == "-text" and (text.parent is None or text.parent.tag not in {"script", "style"})
    )


def _is_mostly_links(node: LexborNode) -> bool:
    length = len(node.text(strip=True))
    return sum(len(link.text(strip=True)) for link in node.css("a")) * 2 > length


def _is_layout(table: LexborNode, attributes: dict[str, str | None]) -> bool:
    """Whether a table only arranges its page: it says so, holds other tables, or has a single cell."""
    if attributes.get("role") in {"presentation", "none"} or len(table.css("table")) > 1:
        return True
    return len(table.css("td, th")) <= 1


def _caption(table: LexborNode) -> str:
    """What stands above a table; inside of it Markdown has no place for a caption."""
    caption = table.css_first("caption")
    if caption is None or is_invisible(caption.attributes.get("style") or ""):
        return ""
    return f"<p>{escape(_SPACE.sub(' ', caption.text()), quote=False)}</p>"


def _numbers(tag: str, attributes: dict[str, str | None]) -> list[int] | None:
    """The number before the first of an ordered list."""
    if tag != "ol":
        return None
    start = (attributes.get("start") or "").strip()
    return [int(start) - 1 if start.isascii() and start.isdigit() and len(start) < 7 else 0]


def _code_language(pre: LexborNode) -> str:
    for node in (pre, pre.css_first("code"), pre.parent):
        found = _LANGUAGE.search((node.attributes.get("class") or "") if node else "")
        if found:
            return found[1]
    return ""
