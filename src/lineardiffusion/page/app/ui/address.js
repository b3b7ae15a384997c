// The address of a state: #samplers?prompt=3&sampler=ddim&steps=6 names a tab and the fields that differ from their
// first values, so that a link opens what its author saw.

const WAIT = 300; // milliseconds; browsers limit how often an address may change
let waiting = 0;

/** Return the tab and the fields of an address: `{id, given: [name, text] pairs}`. */
export function readAddress(hash) {
  const [id, query = ""] = hash.replace(/^#/, "").split("?");
  return {id: id.toLowerCase(), given: [...new URLSearchParams(query)]};
}

/** Set fields to what an address gives or to their first values, in their order, on which options may depend. */
export function takeFields(fields, given) {
  const texts = new Map(given);
  for (const field of fields) {
    field.value = field.initial;
    if (texts.has(field.name)) field.take(texts.get(field.name));
  }
}

/**
 * Write the state of a tab into the address; no link can say a value that is undefined. Files and frames may refuse
 * an address; the page works all the same.
 */
export function writeAddress(id, fields) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const said = fields.filter(({value, initial}) => value !== initial && value !== undefined);
    const given = said.map(({name, value}) => [name, value]);
    const query = new URLSearchParams(given).toString();
    try {
      history.replaceState(null, "", `#${id}${query && "?"}${query}`);
    } catch {
      // the address stays as it is
    }
  }, WAIT);
}
