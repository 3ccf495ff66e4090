"""User agents: people's browsers, robots, and programs that send events."""

import gzip
import re
from pathlib import Path

import pytest

from attribution.agents import UNKNOWN, parse_user_agent

ACCESS_LOG = Path(__file__).parents[2] / "../shared/data/access_log/combined.log.gz"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("text", "device", "browser", "os"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/140.0.0.0 Safari/537.36",
         "desktop", "Chrome", "Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
         "desktop", "Edge", "Windows"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/140.0.0.0 Safari/537.36 OPR/120.0",
         "desktop", "Opera", "macOS"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
         "Safari/605.1.15", "desktop", "Safari", "macOS"),
        ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
         "desktop", "Firefox", "Linux"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/140.0.0.0 Safari/537.36",
         "desktop", "Chrome", "ChromeOS"),
        (f"{IPHONE} Version/18.0 Mobile/15E148 Safari/604.1", "mobile", "Safari", "iOS"),
        (f"{IPHONE} CriOS/140.0.0.0 Mobile/15E148 Safari/604.1", "mobile", "Chrome", "iOS"),
        (f"{IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/480.0.0;FBDV/iPhone14,2]", "mobile", "Facebook", "iOS"),
        (f"{IPHONE} Mobile/15E148 Instagram 300.0.0.1", "mobile", "Instagram", "iOS"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 "
         "Mobile/15E148 Safari/604.1", "tablet", "Safari", "iOS"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/140.0.0.0 Mobile Safari/537.36",
         "mobile", "Chrome", "Android"),
        (f"Mozilla/5.0 (Linux; Android 13; SM-X700) {WEBKIT} Chrome/140.0.0.0 Safari/537.36",
         "tablet", "Chrome", "Android"),
        (f"Mozilla/5.0 (Linux; Android 13; CUBOT X50) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36",
         "mobile", "Chrome", "Android"),
        (f"Mozilla/5.0 (Linux; Android 13; SM-S901B) {WEBKIT} SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile "
         "Safari/537.36", "mobile", "Samsung Internet", "Android"),
        (f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {WEBKIT} Version/6.0 TV Safari/537.36", "", "Safari", "Tizen"),
        ("Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
         "desktop", "Internet Explorer", "Windows"),
        ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/7.0; ms-office; MSOffice 16)",
         "desktop", "Internet Explorer", "Windows"),
        ("Opera/9.80 (J2ME/MIDP; Opera Mini/7.1; U; en) Presto/2.8.119 Version/11.10", "mobile", "Opera", ""),
    ],
)  # fmt: skip
def test_a_person_is_known_by_device_browser_and_system(
    text: str, device: str, browser: str, os: str
) -> None:
    agent = parse_user_agent(text)
    assert (agent.device, agent.browser, agent.os) == (device, browser, os)
    assert not agent.is_bot
    assert not agent.is_library


@pytest.mark.parametrize(
    "text",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {WEBKIT} Chrome/140 Mobile Safari/537.36 "
        "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot",
        f"Mozilla/5.0 {WEBKIT}; compatible; ChatGPT-User/1.0; +https://openai.com/bot",
        "Mozilla/5.0 (compatible; PerplexityBot/1.0)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "meta-externalagent/1.1",
        "Twitterbot/1.0",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "WhatsApp/2.23.20.0 A",
        "TelegramBot (like TwitterBot)",
        f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/140.0.0.0 Safari/537.36",
        f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/119 Safari/537.36 Chrome-Lighthouse",
        "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        "ELB-HealthChecker/2.0",
    ],
)
def test_a_robot_is_a_robot(text: str) -> None:
    assert parse_user_agent(text).is_bot


@pytest.mark.parametrize(
    "text",
    ["curl/8.5.0", "python-requests/2.32.0", "python-httpx/0.28.1", "Wget/1.21", "okhttp/4.12.0", "Go-http-client/2.0",
     "axios/1.7.2", "node", "Java/17.0.1", "Ruby", "GuzzleHttp/7", "PostmanRuntime/7.40", "analytics-python/2.3.2"],
)  # fmt: skip
def test_a_program_that_may_report_purchases_is_a_library_and_no_robot(text: str) -> None:
    agent = parse_user_agent(text)
    assert agent.is_library
    assert not agent.is_bot


@pytest.mark.parametrize(
    "text",
    [
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
        "Mozilla/5.0",
    ],
)
def test_a_mail_readers_image_proxy_is_a_person_opening_an_email(text: str) -> None:
    assert not parse_user_agent(text).is_bot


@pytest.mark.parametrize("text", ["", "-", "   "])
def test_no_user_agent_is_not_judged(text: str) -> None:
    assert parse_user_agent(text) == UNKNOWN


def test_the_share_of_robots_in_a_real_access_log() -> None:
    if not ACCESS_LOG.exists():
        pytest.skip("the real access log (../shared/data/access_log) is not beside this repository")
    judged = {True: 0, False: 0}
    with gzip.open(ACCESS_LOG, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            agent = parse_user_agent(quoted[-1])
            judged[agent.is_bot or agent.is_library] += 1
    print(f"robots and programs: {judged[True]} of {sum(judged.values())}")
    assert sum(judged.values()) == 10_000
    assert 2_500 < judged[True] < 2_900
