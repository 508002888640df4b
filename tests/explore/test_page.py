"""The page in a browser: user actions and responses."""

import contextlib
import json
import shutil
import time

import pytest
from mischief import REFUSED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no browser to test the page in: apt-get install chromium chromium-driver"
    ),
]


@pytest.fixture(scope="module")
def browser(address):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.set_window_size(1280, 1400)
    driver.get(address)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser):
    return Page(browser)


class Page:
    def __init__(self, browser):
        self.browser = browser
        self.wait(lambda: self.picture("heat-a") and self.picture("kernels-a"))

    def holds(self, done, seconds):
        """Poll until a condition holds. Elements that the page replaces or covers meanwhile are queried again."""
        from selenium.common import exceptions

        moving = (exceptions.StaleElementReferenceException, exceptions.ElementNotInteractableException)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(*moving, exceptions.ElementClickInterceptedException):
                if found := done():
                    return found
            time.sleep(0.05)
        return None

    def wait(self, done):
        found = self.holds(done, 60)
        assert found, "the page did not answer"
        return found

    def find(self, selector):
        return self.browser.find_elements("css selector", selector)

    def picture(self, name):
        """The address of a picture, which changes with its pixels."""
        return next((image.get_attribute("src") for image in self.find(f"#{name} img")), None)

    def choose(self, name, option):
        """Choose an option, again if the page replaced the list at that moment and lost the choice."""

        def chosen():
            return [entry.get_attribute("value") for entry in self.find(f"#{name} input")] == [option]

        def pick():
            if not chosen() and self.press(f"#{name} input"):
                self.holds(lambda: self.press(f"#{name} [role=option]", option), 2)
            return self.holds(chosen, 5)

        self.wait(pick)

    def press(self, selector, text=None):
        """Click the first matching element; return whether there is one."""
        chosen = [part for part in self.find(selector) if text is None or part.text.strip() == text][:1]
        for part in chosen:
            part.click()
        return bool(chosen)

    def bring(self, name, path):
        """Upload a file; replace an earlier one."""
        if not any(part.is_displayed() for part in self.find(f"#{name}")):
            self.press(f"#own-{name.partition('-')[2]} button")
            self.wait(lambda: any(part.is_displayed() for part in self.find(f"#{name}")))
        clear = f"#{name} button[aria-label='Clear']"
        self.wait(lambda: not self.press(clear))

        def drop():
            """Upload, again if the page replaced its input at that moment and lost the file."""
            for entry in self.find(f"#{name} input[type=file]"):
                entry.send_keys(str(path))
            return self.holds(lambda: self.find(clear), 10)

        self.wait(drop)

    def click(self, name, x, y):
        from selenium.webdriver import ActionChains

        [image] = self.find(f"#{name} img")
        size = image.size
        at = round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
        ActionChains(self.browser).move_to_element_with_offset(image, *at).click().perform()

    def text(self, name):
        return " ".join(part.text for part in self.find(f"#{name}"))

    def changes(self, names, act):
        """Perform an action, and return when all of these pictures have changed."""
        before = {name: self.picture(name) for name in names}
        act()
        self.wait(lambda: all(self.picture(name) not in (None, before[name]) for name in names))


def test_it_loads_without_errors_and_asks_nobody_else(page, address):
    assert [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "chrome:"))] == []
    page.wait(lambda: "Persian cat" in page.text("classes-a"))


def test_layer_and_group_change_the_map(page):
    page.choose("layer-a", "layer1.0.conv2")
    page.wait(lambda: "layer=layer1.0.conv2" in page.browser.current_url)
    page.changes(["heat-a", "kernels-a"], lambda: page.choose("layer-a", "stem.1"))
    page.changes(["heat-a", "window-a"], lambda: page.choose("group-a", "1"))
    page.wait(lambda: "2 groups, window 3 x 3" in page.text("legend-a"))


def test_a_click_shows_the_kernels_of_that_pixel(page):
    page.choose("layer-a", "stem.1")
    page.wait(lambda: "of 43" in page.text("legend-a"))
    page.changes(["heat-a", "kernels-a", "window-a"], lambda: page.click("heat-a", 0.26, 0.77))
    page.wait(lambda: "row 33 of 43, column 8 of 32" in page.text("legend-a"))


def test_a_click_on_a_small_map_chooses_its_layer_and_the_address_has_the_view(page):
    page.choose("layer-a", "layer1.0.conv2")
    page.wait(lambda: "layer=layer1.0.conv2" in page.browser.current_url)
    page.changes(["heat-a", "kernels-a"], lambda: page.click("layers-a", 0.05, 0.2))
    page.wait(lambda: "layer=stem.1" in page.browser.current_url)


def test_another_image_and_another_network(page):
    page.changes(["heat-a"], lambda: page.choose("sample-a", "flower"))
    page.changes(["heat-a", "kernels-a"], lambda: page.choose("network-a", "rednet26, untrained"))
    page.wait(lambda: not page.text("classes-a"))
    page.changes(["heat-a"], lambda: page.choose("network-a", "two.ckpt"))


@pytest.mark.parametrize("name", ["text.png", "huge.png", "cut.jpg", "drawing.svg"])
def test_a_wrong_file_shows_a_message_and_the_page_goes_on(page, name, tmp_path):
    from PIL import Image

    (tmp_path / name).write_bytes(REFUSED[name][0])
    page.bring("upload-a", tmp_path / name)
    page.wait(lambda: REFUSED[name][1] in page.text("message-a"))
    Image.effect_noise((50 + len(name), 40), 90).save(tmp_path / "right.png")
    page.changes(["heat-a"], lambda: page.bring("upload-a", tmp_path / "right.png"))
    page.wait(lambda: not page.text("message-a"))


def test_a_checkpoint_is_brought(page, weights, tmp_path):
    (tmp_path / "wrong.ckpt").write_text("no checkpoint")
    page.bring("checkpoint-a", tmp_path / "wrong.ckpt")
    page.wait(lambda: "checkpoint: expected a file of weights without code, got wrong.ckpt" in page.text("message-a"))
    page.bring("checkpoint-a", weights)
    page.wait(lambda: page.find("#network-a input")[0].get_attribute("value") == "your checkpoint")
    page.wait(lambda: not page.text("message-a"))


def test_a_checkpoint_of_the_folder_that_cannot_be_read(page):
    page.choose("network-a", "unreadable.ckpt")
    page.wait(
        lambda: "checkpoint: expected a file of weights without code, got unreadable.ckpt" in page.text("message-a")
    )
    page.choose("network-a", "two.ckpt")
    page.wait(lambda: not page.text("message-a"))


def test_two_are_compared_and_a_click_moves_both(page):
    page.wait(lambda: page.press("#compare input"))
    page.wait(lambda: page.picture("heat-b"))
    samples = [page.find(f"#sample-{name} input")[0].get_attribute("value") for name in "ab"]
    assert len(set(samples)) == 2, samples
    page.changes(["kernels-b"], lambda: page.choose("network-b", "rednet26, untrained"))
    page.changes(["kernels-a", "kernels-b"], lambda: page.click("heat-a", 0.11, 0.12))
    page.changes(["kernels-a", "kernels-b"], lambda: page.click("heat-b", 0.87, 0.62))
    page.wait(lambda: page.press("#compare input"))
    page.wait(lambda: not page.find("#heat-b img"))


def test_there_were_no_errors_in_the_console(page):
    assert [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"] == []
