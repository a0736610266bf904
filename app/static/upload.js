// Previews, progress and results without leaving the page. Everything works without this script,
// too: the server renders the same result, and this only swaps it in.
$(function () {
  "use strict";
  const $form = $("#upload");
  const $previews = $("#previews");
  const $status = $("#status");
  const maxImages = $form.data("max-images");
  const maxBytes = $form.data("max-bytes");
  let photos = [];
  let running = null;

  function say(text) {
    $status.text(text);
  }

  function addPhotos(files) {
    photos = photos.concat(Array.from(files));
    const tooMany = photos.length > maxImages;
    photos = photos.slice(0, maxImages);
    showPreviews();
    say(tooMany ? `Only the first ${maxImages} photos were taken.` : "");
    if (photos.length) $("#send").trigger("focus");
  }

  function clearPhotos() {
    if (running) running.abort();
    photos = [];
    showPreviews();
    say("");
  }

  function showPreviews() {
    $previews.find("img").each(function () { URL.revokeObjectURL(this.src); });
    $previews.empty().append(photos.map(buildPreview));
    $("#clear").prop("hidden", photos.length === 0);
  }

  function buildPreview(photo) {
    const $item = $("<li>");
    const $image = $("<img>", { alt: photo.name, src: URL.createObjectURL(photo) });
    $image.on("error", function () {
      URL.revokeObjectURL(this.src);
      const heic = /\.hei[cf]$/i.test(photo.name);
      $item.empty().append(
        $("<span>", { class: "name", text: photo.name }),
        $("<span>", { text: heic ? "No preview here, but it can be analysed." : "No preview." })
      );
    });
    return $item.append($image);
  }

  function showWork(percent) {
    // Without a value the bar shows that something goes on.
    if (percent < 100) {
      $("#bar").attr("value", percent);
      say(`Sending… ${percent}%`);
    } else {
      $("#bar").removeAttr("value");
      say("Analysing…");
    }
  }

  function setBusy(busy) {
    $("#progress").prop("hidden", !busy);
    $("#send").prop("disabled", busy);
    $form.attr("aria-busy", String(busy));
  }

  function showResult(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const result = page.getElementById("result");
    if (!result) return false;
    $("#result").replaceWith(document.importNode(result, true));
    $("#result").trigger("focus");
    $("#result")[0].scrollIntoView();
    return true;
  }

  function explainFailure(reason) {
    if (reason === "abort") return say("");
    say("The answer did not arrive. Check your connection and try again.");
  }

  function send() {
    const form = new FormData();
    photos.forEach((photo) => form.append($("#photos").attr("name"), photo));
    setBusy(true);
    showWork(0);
    running = $.ajax({
      url: $form.attr("action"),
      method: "POST",
      data: form,
      contentType: false,
      processData: false,
      dataType: "html",
      headers: { Accept: "text/html" },
      xhr: function () {
        const xhr = $.ajaxSettings.xhr();
        xhr.upload.addEventListener("progress", (event) => {
          if (event.lengthComputable) showWork(Math.round((100 * event.loaded) / event.total));
        });
        return xhr;
      },
    })
      .always(() => { running = null; setBusy(false); })
      .done((html) => { clearPhotos(); showResult(html); })
      .fail((xhr, reason) => {
        say("");
        if (!xhr.responseText || !showResult(xhr.responseText)) explainFailure(reason);
      });
  }

  $form.on("submit", function (event) {
    event.preventDefault();
    if (running) return;
    const bytes = photos.reduce((sum, photo) => sum + photo.size, 0);
    if (!photos.length) {
      say("Choose a photo first.");
    } else if (bytes > maxBytes) {
      say(`These photos have ${Math.ceil(bytes / 1e6)} MB, at most ${Math.floor(maxBytes / 1e6)} MB can be sent at once. Send fewer photos, or smaller copies.`);
    } else {
      send();
    }
  });
  $("#photos, #camera").on("change", function () {
    addPhotos(this.files);
    this.value = ""; // so that the same photo can be chosen again
  });
  $("#clear").on("click", clearPhotos);

  // The whole page takes a drop: one that misses the field would otherwise open the photo instead.
  $(document)
    .on("dragover", (event) => { event.preventDefault(); $("#drop").addClass("over"); })
    .on("dragleave drop", () => $("#drop").removeClass("over"))
    .on("drop", (event) => { event.preventDefault(); addPhotos(event.originalEvent.dataTransfer.files); });
});
