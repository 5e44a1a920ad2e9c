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
    });
  }

  // The review queue by keys: one question is the current one.
  function reviewing() {
    const questions = [...document.querySelectorAll("[data-question]")];
    if (!questions.length) return;
    let current = 0;
    const show = (index) => {
      questions[current].classList.remove("portrait-current");
      current = Math.max(0, Math.min(index, questions.length - 1));
      questions[current].classList.add("portrait-current");
      questions[current].scrollIntoView({ block: "nearest" });
    };
    const next = () => {
      const onward = document.querySelector(".portrait-pager-links a[rel=next]");
      if (current + 1 < questions.length) show(current + 1);
      else if (onward) onward.click();
    };
    questions.forEach((question, index) => {
      question.addEventListener("click", () => show(index));
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
      if (event.key === "m") {
        const name = questions[current].querySelector("[data-name]");
        if (name) { event.preventDefault(); name.focus(); }
        return;
      }
      const scope = event.key === "u" ? document : questions[current];
      const button = scope.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (button) button.click();
    });
    show(0);
  }

  ready(() => { choosing(); dialogs(); reviewing(); });
})();
