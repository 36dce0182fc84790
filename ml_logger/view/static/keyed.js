// @ts-check
/** Elements that stay what they are while what they show changes: pictures don't load again, and nothing loses its focus. */

/** @template T @typedef {{element: HTMLElement, update: (value: T) => void}} Item */

/** The children of an element, one for each id. @template T */
export class Keyed {
  /** @param {HTMLElement} parent @param {(id: string) => Item<T>} make */
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    /** @type {Map<string, Item<T>>} */
    this.items = new Map();
  }

  /** Show just these, in this order. @param {[string, T][]} pairs ids, each once, with what they show */
  show(pairs) {
    const ids = new Set(pairs.map(([id]) => id));
    for (const [id, item] of this.items) if (!ids.has(id)) this.#drop(id, item);
    pairs.forEach(([id, value], i) => {
      const item = this.items.get(id) ?? this.#add(id);
      const there = this.parent.children[i] ?? null;
      if (there !== item.element) this.parent.insertBefore(item.element, there);
      item.update(value);
    });
  }

  /** @param {string} id @returns {Item<T>} */
  #add(id) {
    const item = this.make(id);
    this.items.set(id, item);
    return item;
  }

  /** @param {string} id @param {Item<T>} item */
  #drop(id, item) {
    item.element.remove();
    this.items.delete(id);
  }
}
