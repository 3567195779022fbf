/** Files that the bundler puts into the binary: SQL as its text, the packed server as a path. */
declare module "*.sql" {
  const text: string;
  export default text;
}
declare module "*.tar.zst" {
  const path: string;
  export default path;
}
declare module "*.version" {
  const text: string;
  export default text;
}
