// Pictures from a camera, where the browser has one and allows it.

import { addFiles } from "./inspect.js";
import { $, say } from "./words.js";

let stream = null;

async function open() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: { ideal: "environment" }, width: { ideal: 1920 }, height: { ideal: 1080 } },
    });
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`, true);
    return;
  }
  $("video").srcObject = stream;
  await $("video").play();
  $("camera").hidden = false;
  $("camera-open").disabled = true;
  $("camera-take").focus();
}

function close() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("video").srcObject = null;
  $("camera").hidden = true;
  $("camera-open").disabled = false;
  $("camera-open").focus();
}

async function take() {
  const video = $("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  // Lossless: a fine scratch must not drown in JPEG's blocks.
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const stamp = new Date().toISOString().replaceAll(":", "-");
  addFiles([new File([blob], `camera-${stamp}.png`, { type: "image/png" })]);
}

export function setUpCamera() {
  const help = $("camera-help");
  if (!isSecureContext) {
    help.textContent = "Browsers open a camera only over HTTPS, or on localhost: open this page there.";
  } else if (!navigator.mediaDevices?.getUserMedia) {
    help.textContent = "This browser has no camera.";
  } else {
    $("camera-open").addEventListener("click", open);
    $("camera-take").addEventListener("click", take);
    $("camera-close").addEventListener("click", close);
    return;
  }
  $("camera-open").disabled = true;
}
