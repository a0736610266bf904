// Previews, progress and results without leaving the page. Everything also works without this
// script: the server renders the same results, which the script only inserts photo by photo.
$(function () {
  "use strict";
  const MAX_SIDE = 2400; // pixels of a photo that is sent; the model looks at a few hundred
  const MAX_PHOTOS = 50;
  const MAX_TRIES = 5;
  const $form = $("#upload");
  const $previews = $("#previews");
  const $status = $("#status");
  const texts = $form.data("texts");
  const maxBytes = $form.data("max-bytes");
  let photos = []; // {file, url}
  let job = null; // what is being analysed: {cancelled, request, timer}

  function showStatus(text, values = {}) {
    $status.text(Object.entries(values).reduce((filled, [name, value]) => filled.replace(`{${name}}`, value), text));
  }

  // Choosing

  function addPhotos(files) {
    if (job) return;
    const added = Array.from(files).map((file) => ({ file, url: URL.createObjectURL(file) }));
    const tooMany = photos.length + added.length > MAX_PHOTOS;
    photos = photos.concat(added).slice(0, MAX_PHOTOS);
    showPreviews();
    showStatus(tooMany ? texts.tooMany : "", { n: MAX_PHOTOS });
    if (photos.length) $("#send").trigger("focus");
  }

  function removePhoto(photo) {
    URL.revokeObjectURL(photo.url);
    photos = photos.filter((other) => other !== photo);
    showPreviews();
  }

  function clearPhotos() {
    photos.forEach((photo) => URL.revokeObjectURL(photo.url));
    photos = [];
    showPreviews();
    showStatus("");
  }

  function showPreviews() {
    $previews.empty().append(photos.map(buildPreview));
    $("#clear").prop("hidden", photos.length === 0 || job !== null);
  }

  function buildPreview(photo) {
    const $item = $("<li>");
    const $image = $("<img>", { alt: photo.file.name, src: photo.url });
    $image.on("error", function () {
      const heic = /\.hei[cf]$/i.test(photo.file.name);
      $image.replaceWith(
        $("<span>", { class: "name", text: photo.file.name }),
        $("<span>", { text: heic ? texts.noHeicPreview : texts.noPreview })
      );
    });
    const $remove = $("<button>", {
      type: "button", class: "remove", text: "×", disabled: job !== null,
      "aria-label": texts.remove.replace("{name}", photo.file.name),
    });
    $remove.on("click", () => { removePhoto(photo); $("#photos").trigger("focus"); });
    return $item.append($image, $remove);
  }

  // Sending

  // Sending a large photo takes longer than analysing it. Drawing it anew also turns it upright and
  // removes where it was taken. A photo that the browser cannot draw is sent as it is.
  async function shrink(file) {
    let picture;
    try {
      picture = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      return file;
    }
    const scale = MAX_SIDE / Math.max(picture.width, picture.height);
    if (scale >= 1) return file;
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(picture.width * scale);
    canvas.height = Math.round(picture.height * scale);
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // as the server does behind transparent pixels
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
    return blob && blob.size < file.size ? blob : file;
  }

  function post(content, name, where) {
    const form = new FormData();
    form.append($("#photos").attr("name"), content, name);
    const request = $.ajax({
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
          if (!event.lengthComputable) return;
          const percent = Math.round((100 * event.loaded) / event.total);
          showStatus(percent < 100 ? texts.sending : texts.analysing, { ...where, percent });
        });
        return xhr;
      },
    });
    job.request = request;
    return new Promise((done) => request.always((_, outcome) => done({ request, outcome })));
  }

  function wait(seconds) {
    return new Promise((done) => { job.timer = { id: setTimeout(done, 1000 * seconds), done }; });
  }

  // The result in the response, or null if there was none.
  async function ask(photo, where) {
    showStatus(texts.preparing, where);
    const content = await shrink(photo.file);
    if (content.size > maxBytes) {
      const mb = Math.ceil(content.size / 1e6);
      showStatus(texts.tooLarge, { name: photo.file.name, mb, most: Math.floor(maxBytes / 1e6) });
      return null;
    }
    for (let tries = 1; !job.cancelled; tries += 1) {
      showStatus(texts.analysing, where);
      const { request, outcome } = await post(content, photo.file.name, where);
      const seconds = Number(request.getResponseHeader("Retry-After"));
      if ([429, 503].includes(request.status) && seconds && tries < MAX_TRIES) {
        showStatus(texts.waiting, { ...where, seconds });
        await wait(seconds);
        continue;
      }
      if (outcome !== "abort" && !request.responseText) showStatus(texts.lost);
      if (request.responseText) {
        const page = new DOMParser().parseFromString(request.responseText, "text/html");
        const $result = $(document.importNode(page.getElementById("result"), true));
        return { $result, accepted: request.status < 400 };
      }
      return null;
    }
    return null;
  }

  async function analyse() {
    job = { cancelled: false, request: null, timer: null };
    const waiting = photos.slice();
    const total = waiting.length;
    let first = true;
    let failed = false;
    setBusy(true, total);
    for (let i = 0; i < total && !job.cancelled && !failed; i += 1) {
      const answer = await ask(waiting[i], { i: i + 1, n: total });
      failed = answer === null;
      if (failed) break;
      if (first) $("#result").empty();
      addResult(answer.$result, waiting[i].file.name);
      first = false;
      // A refused photo stays in the list, so that the visitor sees which one it was.
      if (answer.accepted) removePhoto(waiting[i]);
      $("#bar").attr("value", i + 1);
    }
    const cancelled = job.cancelled;
    job = null;
    setBusy(false, 0);
    if (cancelled) showStatus(texts.cancelled);
    else if (!failed) showStatus("");
    if (!first) {
      $("#result").trigger("focus");
      $("#result")[0].scrollIntoView();
    }
  }

  function setBusy(busy, total) {
    $("#progress").prop("hidden", !busy);
    if (total > 1) $("#bar").attr({ value: 0, max: total });
    else $("#bar").removeAttr("value"); // without a value the bar shows that work is under way
    $("#send").prop("disabled", busy);
    $("#cancel").prop("hidden", !busy);
    $form.attr("aria-busy", String(busy));
    showPreviews();
  }

  // Showing

  function addResult($result, name) {
    const $here = $("#result");
    $result.children(".problem").not(":has(.file)").prepend($("<p>", { class: "file", text: name }));
    if (!$here.children(".facts").length) {
      const $before = $here.children().detach();
      $here.append($result.children());
      $here.children(".facts").length ? $("#overview").after($before) : $here.prepend($before);
    } else {
      $("#overview tbody").append($result.find("#overview tbody tr"));
      $here.children(".actions").before($result.children(".answer, .problem"));
    }
    $("#overview").prop("hidden", $("#overview tbody tr").length < 2);
    $("#printed").text(new Date().toLocaleString(document.documentElement.lang));
  }

  function sortByProbability() {
    const $head = $(this).closest("th");
    const order = $head.attr("aria-sort") === "descending" ? "ascending" : "descending";
    const sign = order === "ascending" ? 1 : -1;
    const rank = (row) => (row.dataset.probability === "" ? -1 : Number(row.dataset.probability));
    const rows = $("#overview tbody tr").get().sort((a, b) => sign * (rank(a) - rank(b)));
    $("#overview tbody").append(rows);
    $head.attr("aria-sort", order);
  }

  function quote(value) {
    // A spreadsheet would run a cell that begins like a formula.
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return `"${safe.replaceAll('"', '""')}"`;
  }

  function downloadTable() {
    const columns = ["name", "label", "probability", "lowest", "highest", "threshold", "reasons", "version"];
    const rows = $("#overview tbody tr").get().map((row) => columns.map((column) => quote(row.dataset[column])).join(","));
    const csv = [columns.join(","), ...rows].join("\r\n") + "\r\n";
    const url = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    $("<a>", { href: url, download: "melanoma-check.csv" })[0].click();
    URL.revokeObjectURL(url);
  }

  // Wiring

  $form.on("submit", function (event) {
    event.preventDefault();
    if (job) return;
    if (photos.length) analyse();
    else showStatus(texts.none);
  });
  $("#photos, #camera").on("change", function () {
    addPhotos(this.files);
    this.value = ""; // so that the same photo can be chosen again
  });
  $("#clear").on("click", clearPhotos);
  $("#cancel").on("click", () => {
    if (!job) return;
    job.cancelled = true;
    if (job.request) job.request.abort();
    if (job.timer) { clearTimeout(job.timer.id); job.timer.done(); }
  });
  $(".example").on("click", async function (event) {
    event.preventDefault();
    try {
      const response = await fetch(this.href);
      const name = this.pathname.split("/").pop();
      addPhotos([new File([await response.blob()], name, { type: "image/jpeg" })]);
    } catch {
      showStatus(texts.noExample);
    }
  });
  $(document)
    .on("click", ".sort", sortByProbability)
    .on("click", "#csv", downloadTable)
    .on("click", "#print", () => window.print())
    .on("input", ".heat-strength", function () {
      $(this).closest(".seen").find(".heatmap").css("opacity", this.value / 100);
    })
    .on("paste", (event) => {
      const files = event.originalEvent.clipboardData.files;
      if (files.length) addPhotos(files);
    })
    // The whole page accepts drops: otherwise the browser would open a photo that misses the field.
    .on("dragover", (event) => { event.preventDefault(); $("#drop").addClass("over"); })
    .on("dragleave drop", () => $("#drop").removeClass("over"))
    .on("drop", (event) => { event.preventDefault(); addPhotos(event.originalEvent.dataTransfer.files); });
});
