// A portrait's file, as the server and the canvas take it.

import { Problem } from "./problems.mjs";

/** Returns a file in base64. */
export function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Problem("That cannot be read.", "Choose a picture file."));
    reader.readAsDataURL(file);
  });
}

/** Returns the picture, or null where only the server can read it. */
export function bitmap(file) {
  return createImageBitmap(file).catch(() => null);
}
