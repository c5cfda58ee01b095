// What build.mjs writes into the bundle.
declare const API: string;
declare const ISSUER: string;
declare const CLIENT: string;
