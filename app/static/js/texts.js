// The page's texts, in the visitor's language, and the line that tells what happens.

export const $form = $("#upload");
const texts = $form.data("texts");

export function fill(name, values = {}) {
  return Object.entries(values).reduce((text, [key, value]) => text.replaceAll(`{${key}}`, value), texts[name]);
}

export function tell(name, values) {
  $("#status").text(name ? fill(name, values) : "");
}
