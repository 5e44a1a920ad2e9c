"use strict";
// Small helps for the pages of portrait.console. Without it every form still works but the dialogs.
(() => {
  const ready = (run) => (document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", run) : run());

  // How many are chosen, and the bar that does something with them.
  function choosing() {
    for (const bar of document.querySelectorAll("[data-actions]")) {
      const form = bar.closest("form");
      const boxes = () => [...form.querySelectorAll("input.action-select")];
      const all = form.querySelector("[data-choose-all]");
      const update = () => {
        const chosen = boxes().filter((box) => box.checked).length;
        bar.hidden = chosen === 0;
        bar.querySelector("[data-chosen]").textContent = chosen;
        if (all) all.checked = chosen > 0 && chosen === boxes().length;
        const across = bar.querySelector("[name=select_across]");
        if (across && chosen < boxes().length) across.checked = false;
        if (across) across.closest("label").hidden = chosen < boxes().length;
      };
      form.addEventListener("change", (event) => {
        if (event.target === all) boxes().forEach((box) => { box.checked = all.checked; });
        update();
      });
      update();
    }
  }

  function dialogs() {
    document.addEventListener("click", (event) => {
      const opener = event.target.closest("[data-open]");
      if (opener) document.getElementById(opener.dataset.open).showModal();
      if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
      const asked = event.target.closest("[data-confirm]");
      if (asked && !window.confirm(asked.dataset.confirm)) event.preventDefault();
    });
    // Enter presses the button of its own dialog, not the first of the form around it; in a search it chooses nobody.
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input.action-select")) event.preventDefault();
      const dialog = event.key === "Enter" && event.target.closest("input") && event.target.closest("dialog");
      const primary = dialog && dialog.querySelector("button.portrait-primary");
      if (!primary) return;
      event.preventDefault();
      if (event.target.type !== "search") primary.click();
    });
  }

  // Questions that were skipped: known until the tab is closed, as each answer loads the page again.
  const SKIPPED = "portrait-skipped";
  const skipped = {
    all: () => new Set(JSON.parse(sessionStorage.getItem(SKIPPED) || "[]")),
    keep: (ids) => sessionStorage.setItem(SKIPPED, JSON.stringify([...ids])),
    add: (id) => skipped.keep(skipped.all().add(id)),
    drop: (id) => skipped.keep([...skipped.all()].filter((each) => each !== id)),
  };

  // The review queue by keys: one question is the current one.
  function reviewing() {
    const questions = [...document.querySelectorAll("[data-question]")];
    if (!questions.length) return;
    let current = -1; // none: all of this page were skipped, and keys answer nothing
    const show = (index) => {
      if (questions[current]) questions[current].classList.remove("portrait-current");
      current = index;
      if (!questions[current]) return;
      questions[current].classList.add("portrait-current");
      questions[current].scrollIntoView({ block: "nearest" });
    };
    const open = (from) => {
      const passed = skipped.all();
      return questions.findIndex((question, index) => index >= from && !passed.has(question.dataset.question));
    };
    const next = () => {
      if (questions[current]) skipped.add(questions[current].dataset.question);
      const onward = document.querySelector(".portrait-pager-links a[rel=next]");
      const found = current < 0 ? -1 : open(current + 1);
      if (found >= 0) return show(found);
      if (onward) return onward.click();
      if (current >= 0 && open(0) < 0) return show(-1);
      if (open(0) < 0) questions.forEach((question) => skipped.drop(question.dataset.question)); // all over again
      show(open(0));
    };
    questions.forEach((question, index) => {
      question.addEventListener("click", () => { skipped.drop(question.dataset.question); show(index); });
      const skip = question.querySelector("[data-skip]");
      if (skip) skip.addEventListener("click", (event) => { event.stopPropagation(); show(index); next(); });
      const name = question.querySelector("[data-name]");
      if (name) name.addEventListener("keydown", (event) => {
        if (event.key === "Enter") { event.preventDefault(); question.querySelector("[data-naming]").click(); }
        if (event.key === "Escape") name.blur();
      });
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
      if (event.key === "s") return next();
      if (event.key !== "u" && !questions[current]) return;
      if (event.key === "m") {
        const name = questions[current].querySelector("[data-name]");
        if (name) { event.preventDefault(); name.focus(); }
        return;
      }
      const scope = event.key === "u" ? document : questions[current];
      const button = scope.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (button) button.click();
    });
    show(open(0));
  }

  ready(() => { choosing(); dialogs(); reviewing(); });
})();
